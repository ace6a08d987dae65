"""hub_errors: the hub client's errors as Ossia's, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    # The base of transport errors, whichever HTTP library this version of the client uses.
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ossia.errors import CheckpointError, ModelNotFoundError, OssiaError


class HubUnreachableError(ModelNotFoundError):
    """No answer from the hub, so only the cache can help."""


@contextmanager
def hub_errors(repo_id: str, revision: str | None) -> Iterator[None]:
    """The hub client's errors as Ossia's, each with what to do about it."""
    try:
        yield
    except OssiaError:
        raise
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"{repo_id} is gated; accept its terms on its page and log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"{repo_id} is not on the hub, or is private; check the name or run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(f"{repo_id} has no revision {revision!r}") from error
    except HFValidationError as error:
        raise ModelNotFoundError(f"{repo_id!r} is no hub id; expected owner/name") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ModelNotFoundError(
                f"the hub refuses access to {repo_id} ({status}); run `hf auth login`"
            ) from error
        raise HubUnreachableError(f"the hub answered {status} for {repo_id}; try later") from error
    except (HTTPError, ConnectionError, LocalEntryNotFoundError) as error:
        raise HubUnreachableError(
            f"the hub cannot be reached ({_first_line(error)}); check the connection"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{repo_id} cannot be downloaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
