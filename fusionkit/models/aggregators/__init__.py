"""Aggregators: a sequence of vectors to one vector, `A_m` of the paper. Importing the package registers them."""

from fusionkit.models.aggregators.pooling import AttentionPooling, LastElement, MaxPooling, MeanPooling
from fusionkit.models.aggregators.recurrent import BiLstm, Gru, Lstm
from fusionkit.models.aggregators.transformer import Transformer

__all__ = ["AttentionPooling", "BiLstm", "Gru", "LastElement", "Lstm", "MaxPooling", "MeanPooling", "Transformer"]
