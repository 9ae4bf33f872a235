"""The way of a shared folder to the Hugging Face hub, and back; what comes from there is a stranger's."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionkit.errors import FusionKitError, RunError
from fusionkit.inference.publication.folder import LIST, is_publication, list_files, write_publication

if TYPE_CHECKING:
    from fusionkit.inference.predictor import Predictor

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
_REASONS = {
    "RepositoryNotFoundError": "there is none of that name, or it is private and needs `hf auth login`",
    "GatedRepoError": "its author lets only some people in; ask on its page, and log in (`hf auth login`)",
    "RevisionNotFoundError": "it has no such revision",
    "LocalEntryNotFoundError": "it was not downloaded before, and there is no connection (or HF_HUB_OFFLINE is set)",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, so that nothing is sent or fetched",
}


def parse_address(text: str) -> tuple[str, str | None]:
    """Returns the repository and the revision of an address.

    Raises:
        FusionKitError: It is none.

    Example:
        >>> parse_address("hf://ann/emotions@v1")
        ('ann/emotions', 'v1')
    """
    found = _ADDRESS.fullmatch(text)
    if not found:
        raise FusionKitError(f"{text}: is no address of a hub; write hf://owner/name or hf://owner/name@revision")
    return found[1], found[2]


def download(address: str) -> Path:
    """Downloads a shared network, or finds it where it was downloaded before.

    Only files of the names that `list_files` gives are fetched.

    Raises:
        FusionKitError: The address is none, or huggingface_hub is not installed.
        RunError: The repository is not there, not reachable, or holds no shared network.
    """
    repository, revision = parse_address(address)
    hub = _import_hub()
    try:
        folder = Path(hub.snapshot_download(repository, revision=revision, allow_patterns=list_files()))
    except Exception as error:  # whatever the library raises of a repository or a connection
        raise RunError(f"{address}: cannot be downloaded; {_explain(error)}") from error
    if not is_publication(folder):
        raise RunError(f"{address}: holds no {LIST}, so it is no network that `fusionkit share` made")
    return folder


def publish(predictor: Predictor, address: str, *, public: bool = False, token: str | None = None) -> str:
    """Writes the networks of a predictor into a temporary folder, and sends it; returns the address of the commit."""
    parse_address(address)
    _import_hub()
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / "shared"
        write_publication(predictor, shared)
        return upload(shared, address, public=public, token=token)


def upload(
    folder: Path, address: str, *, public: bool = False, message: str | None = None, token: str | None = None
) -> str:
    """Sends a shared folder to a repository, which is made where it is not there.

    Args:
        folder: The folder.
        address: ``hf://owner/name``, or with the name of a branch ``hf://owner/name@branch``.
        public: Whether a repository that is made is for everybody to see.
        message: What the commit says.
        token: The token of the hub; that of ``hf auth login`` when left out.

    Returns:
        The address of the commit.

    Raises:
        FusionKitError: The address is none, or huggingface_hub is not installed.
        RunError: It cannot be sent.
    """
    repository, revision = parse_address(address)
    api = _import_hub().HfApi(token=token)
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=revision,
            allow_patterns=list_files(),
            commit_message=message or "A network trained with fusionkit",
        )
    except Exception as error:  # whatever the library raises of a repository, a token or a connection
        raise RunError(f"{address}: cannot be uploaded; {_explain(error)}") from error
    return str(commit.commit_url)


def _import_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        remedy = "install it with `pip install 'fusionkit-multimodal[hub]'`"
        raise FusionKitError(f"hf:// needs the package huggingface_hub; {remedy}") from None
    return huggingface_hub


def _explain(error: Exception) -> str:
    names = [each.__name__ for each in type(error).__mro__]
    found = [reason for name in names if (reason := _REASONS.get(name))]
    return found[0] if found else f"{type(error).__name__}: {' '.join(str(error).split())}"
