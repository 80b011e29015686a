"""Where judges are reached, as steps note it: a judge that becomes reachable changes a result."""

from urllib.parse import urlsplit

from story_model.config import Settings
from story_model.evaluate_config import JudgeConfig


def judge_addresses(judge: JudgeConfig, settings: Settings) -> list[str]:
    """List hosts and paths of the judges that have an address, without what may be secret in one."""
    own = [judge.address] if judge.model else []
    default = settings.judge_base_url or settings.api_base_url
    reached = [address or default for address in (*own, *(one.address for one in judge.panel))]
    return [_place(address) for address in reached if address]


def _place(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
