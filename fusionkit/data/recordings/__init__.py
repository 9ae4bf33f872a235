"""New samples for a trained network: values, files, folders and tables, without targets."""

from fusionkit.data.recordings.dataset import Recordings
from fusionkit.data.recordings.inputs import describe_inputs
from fusionkit.data.recordings.recording import Recording
from fusionkit.data.recordings.search import find_recordings

__all__ = ["Recording", "Recordings", "describe_inputs", "find_recordings"]
