"""Azure's OpenAI resources: today's paths, and the older ones that name deployment and version."""

import re
from urllib.parse import quote, urlsplit

from apikeyrouter.domain.interfaces.wire import Headers, WireRequest
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

#: What the older paths have below a deployment; all else is below the resource.
_OF_DEPLOYMENT = re.compile(
    r"(?:v1/)?((?:chat/)?completions|embeddings|images/(?:generations|edits)"
    r"|audio/(?:speech|transcriptions|translations))"
)
#: What base URLs end with that were copied from a portal or from other clients.
_BELOW_RESOURCE = re.compile(r"(?:/openai(?:/v1)?|/models)?/*$")
_HOST = re.compile(r".+\.azure\.(?:com|us|cn)")


class AzureAdapter(OpenAIAdapter):
    """One resource of Azure OpenAI or AI Foundry; a model is the name of a deployment.

    Arguments are those of `HttpAdapter`. The base URL may be the resource's alone, or with
    `/openai/v1`. With a layout that has an `api_version` paths are the older ones,
    `/openai/deployments/{model}/...?api-version=...`. Other dialects keep to their own surfaces.
    """

    kind = "azure"

    def __init__(self, base_url: str, **options: object) -> None:
        super().__init__(_with_version(base_url), **options)  # type: ignore[arg-type]
        self._resource = _BELOW_RESOURCE.sub("", self.base_url)
        host = urlsplit(self.base_url).netloc
        #: Whose limits they are: both keys of a resource share them.
        self._account = host if _HOST.fullmatch(host) else ""

    def read_account(self, headers: Headers) -> str:
        """Return the resource, if its address says which it is."""
        return super().read_account(headers) or self._account

    def _url_of(self, request: WireRequest) -> str:
        version = self.layout.api_version
        if not version:
            return super()._url_of(request)
        path = request.path.removeprefix("v1/")
        if request.model and _OF_DEPLOYMENT.fullmatch(path):
            path = f"deployments/{quote(request.model, safe='')}/{path}"
        query = f"{request.query}&" if request.query else ""
        return f"{self._resource}/openai/{path}?{query}api-version={quote(version, safe='')}"


def _with_version(base_url: str) -> str:
    """Return *base_url* with the path that is meant where it names a resource alone."""
    parts = urlsplit(base_url)
    is_resource = parts.path.rstrip("/") in ("", "/openai") and not parts.query
    return f"{_BELOW_RESOURCE.sub('', base_url)}/openai/v1" if is_resource else base_url
