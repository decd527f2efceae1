"""Addresses in a configuration, which is written down: they must hold no secret."""

import re
from urllib.parse import SplitResult, unquote, urlsplit

#: How the keys of providers begin (OpenAI, Anthropic, Groq, Hugging Face, Google, xAI, NVIDIA, Perplexity, GitHub, Replicate).
_PREFIXES = ("sk-", "sk_", "pk-", "gsk_", "hf_", "AIza", "xai-", "nvapi-", "pplx-", "ghp_", "github_pat_", "r8_")
#: Characters of a name from which on it may be a key, where it begins like one, and where it has letters and digits mixed.
_KNOWN, _MIXED = 12, 20
#: Names of projects and tenants, which are no secrets.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: So do accounts at Cloudflare, whose gateways have them in their paths.
_ACCOUNT, _HAS_ACCOUNTS = re.compile(r"[0-9a-f]{32}"), ".cloudflare.com"


def refuse_secrets(key: str, address: str) -> None:
    """Raise ValueError, which does not quote it, if the address at `key` is none or holds what may be a secret: user, password,
    query, fragment, or in its path what looks like a key."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # read here because it is checked when it is read
    except ValueError:
        raise ValueError(f"{key} is no address") from None
    if "@" in address or "?" in address or "#" in address:
        raise ValueError(f"{key} must hold no user, password, query or fragment; keys go into the environment")
    if any(_looks_like_key(name, parts) for name in re.split("[/;=,:&]", unquote(parts.path))):
        raise ValueError(f"{key} has what looks like a key in its path; keys go into the environment")


def _looks_like_key(name: str, parts: SplitResult) -> bool:
    if name.startswith(_PREFIXES):
        return len(name) >= _KNOWN
    if _ACCOUNT.fullmatch(name) and (parts.hostname or "").endswith(_HAS_ACCOUNTS):
        return False
    words = re.findall("[A-Za-z0-9]+", _UUID.sub("", name))
    return any(len(word) >= _MIXED and re.search("[A-Za-z]", word) and re.search("[0-9]", word) for word in words)
