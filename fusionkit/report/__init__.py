"""Pages, figures and sentences, drawn from documents that others measured."""
