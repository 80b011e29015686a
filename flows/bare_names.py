"""A bare deployment name is enough for Prefect, which wants `flow/deployment`: `prefect deployment run build-dataset`.

A plugin hook, run on `import prefect` in the project folder (pyproject.toml switches it on). It looks a name without
"/" up among the server's deployments, leaves every other name alone, and says what to do where it finds none.
"""

import difflib
import functools
import inspect
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.plugins import register_hook

log = logging.getLogger(__name__)

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"
_METHOD = "read_deployment_by_name"
_MARK = "resolves_bare_names"


@register_hook
def setup_environment(*, ctx: Any) -> None:  # noqa: ANN401 - Prefect's hook context
    """Teach Prefect's clients bare names; refuse at once where the command needs a server and none runs."""
    if _is_command("deployment", "run") and ctx.api_url and not _is_listening(ctx.api_url):
        raise SystemExit(f"No Prefect server answers at {ctx.api_url}. Start it with `make up`, then run this again.")
    try:
        from prefect.client.orchestration import PrefectClient, SyncPrefectClient
    except ImportError:
        log.warning("this Prefect has its clients elsewhere; name deployments in full: build-dataset/build-dataset")
        return
    for client in (PrefectClient, SyncPrefectClient):
        _teach(client)


def full_name(name: str, known: Sequence[str]) -> str:
    """Find the one `flow/deployment` among the known ones that a bare deployment name means.

    Raises:
        ValueError: none has this name, or several have; the message names those that come near.
    """
    matches = [one for one in known if one.rpartition("/")[2] == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(f"several deployments are named {name!r}; name one in full: {', '.join(sorted(matches))}")
    near = difflib.get_close_matches(name, [one.rpartition("/")[2] for one in known], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "did you run `make up`?"
    raise ValueError(f"no deployment is named {name!r}; {hint}")


def _teach(client: type) -> None:
    """Wrap the client's look-up by name, once."""
    owner = next((base for base in client.__mro__ if _METHOD in vars(base)), None)
    if owner is None:
        log.warning("this Prefect has no %s.%s; name deployments in full", client.__name__, _METHOD)
        return
    original = vars(owner)[_METHOD]
    if not hasattr(original, _MARK):
        wrapped = _async_look_up(original) if inspect.iscoroutinefunction(original) else _look_up(original)
        setattr(wrapped, _MARK, True)
        setattr(owner, _METHOD, wrapped)


def _look_up(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def by_name(self: Any, name: str) -> Any:  # noqa: ANN401 - Prefect's own types
        if "/" in name:
            return original(self, name)
        deployments = self.read_deployments(deployment_filter=_named(name)) or self.read_deployments()
        flows = {flow_id: self.read_flow(flow_id).name for flow_id in {one.flow_id for one in deployments}}
        return original(self, _resolve(name, [f"{flows[one.flow_id]}/{one.name}" for one in deployments]))

    return by_name


def _async_look_up(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def by_name(self: Any, name: str) -> Any:  # noqa: ANN401 - Prefect's own types
        if "/" in name:
            return await original(self, name)
        deployments = await self.read_deployments(deployment_filter=_named(name)) or await self.read_deployments()
        flows = {flow_id: (await self.read_flow(flow_id)).name for flow_id in {one.flow_id for one in deployments}}
        return await original(self, _resolve(name, [f"{flows[one.flow_id]}/{one.name}" for one in deployments]))

    return by_name


def _named(name: str) -> Any:  # noqa: ANN401 - Prefect's own types
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    return DeploymentFilter(name=DeploymentFilterName(any_=[name]))


def _resolve(name: str, known: Sequence[str]) -> str:
    try:
        return full_name(name, known)
    except ValueError as error:
        if _is_command("deployment"):
            raise SystemExit(str(error)) from None  # Prefect's command line would print a traceback
        raise


def _is_command(*words: str) -> bool:
    """Tell whether this process is Prefect's command line with these words."""
    program = Path(sys.argv[0])
    is_prefect = program.name == "prefect" or program.parts[-2:] == ("prefect", "__main__.py")
    return is_prefect and tuple(sys.argv[1 : 1 + len(words)]) == words


def _is_listening(url: str) -> bool:
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=2).close()
    except OSError:
        return False
    return True
