"""The REST client of the operator. It returns plain JSON, limits the time of every call, and raises `errors`.

`kubernetes.aio` manages the connection and renews the credentials. The client does not use the generated models of
`kubernetes.aio`, because decoding into them would take most of the time of a pass.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from swarm_operator.cluster import errors
from swarm_operator.cluster.clock import ClusterClock
from swarm_operator.cluster.resources import MANAGER, PODS, Resource
from swarm_operator.settings import Settings

Object = dict[str, Any]

PAGE: Final = 500


class Kube(Protocol):
    """The requests that the operator sends to an API server. Tests use a fake API server in memory.

    Every method raises errors.ApiError if its request fails.
    """

    async def get(
        self, resource: Resource, namespace: str, name: str, *, metadata_only: bool = False
    ) -> Object | None: ...
    async def select(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Sequence[Object]: ...
    async def create(self, resource: Resource, namespace: str, body: Object) -> None: ...
    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        *,
        subresource: str = "",
        force: bool = False,
    ) -> None: ...
    async def patch(
        self, resource: Resource, namespace: str, name: str, operations: Sequence[Object], *, subresource: str = ""
    ) -> None: ...
    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None: ...
    async def log(self, namespace: str, pod: str, container: str, *, limit: int, timeout: float) -> bytes: ...


class RestKube:
    """Sends the requests of `Kube` to an API server over HTTP.

    Attributes:
        clock: the API server's time.
    """

    def __init__(self, api: client.ApiClient, settings: Settings) -> None:
        self._api, self._settings, self.clock = api, settings, ClusterClock()

    @classmethod
    async def connect(cls, settings: Settings) -> Self:
        """Connects with the pod's service account. Outside of a pod, connects with the kubeconfig."""
        configuration = client.Configuration()
        if Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
        return cls(client.ApiClient(configuration), settings)

    async def close(self) -> None:
        await self._api.close()

    async def get(self, resource: Resource, namespace: str, name: str, *, metadata_only: bool = False) -> Object | None:
        accept = _partial("PartialObjectMetadata") if metadata_only else "application/json"
        try:
            found: Object = await self._json("GET", resource.path(namespace, name), accept=accept)
        except errors.Vanished:
            return None
        return found

    async def select(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Sequence[Object]:
        accept = _partial("PartialObjectMetadataList") if metadata_only else "application/json"
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields, "continue": ""}
        items: list[Object] = []
        while True:
            page = await self._json("GET", resource.path(namespace), query=query, accept=accept)
            items += page.get("items") or []
            query["continue"] = page.get("metadata", {}).get("continue") or ""
            if not query["continue"]:
                return items

    async def create(self, resource: Resource, namespace: str, body: Object) -> None:
        await self._json("POST", resource.path(namespace), query={"fieldManager": MANAGER}, body=body)

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        *,
        subresource: str = "",
        force: bool = False,
    ) -> None:
        """Writes an object by server-side apply. Raises Conflict if another field manager owns one of the fields.

        With `force`, and for a status, it raises no Conflict, because it takes such fields over.
        """
        ours = {"force": "true"} if force or subresource == "status" else {}
        await self._json(
            "PATCH",
            resource.path(namespace, name, subresource),
            query={"fieldManager": MANAGER, **ours},
            body=body,
            content="application/apply-patch+yaml",
        )

    async def patch(
        self, resource: Resource, namespace: str, name: str, operations: Sequence[Object], *, subresource: str = ""
    ) -> None:
        """Sends a JSON patch."""
        await self._json(
            "PATCH",
            resource.path(namespace, name, subresource),
            body=list(operations),
            content="application/json-patch+json",
        )

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Deletes the object if it has this uid. Kubernetes then deletes the object's dependents in the background."""
        await self._json(
            "DELETE",
            resource.path(namespace, name),
            body={"preconditions": {"uid": uid}, "propagationPolicy": "Background"},
        )

    async def log(self, namespace: str, pod: str, container: str, *, limit: int, timeout: float) -> bytes:
        """Returns a container's output from its beginning, `limit` bytes at most.

        If the kubelet has no output of the container, it may answer with an error text instead.
        """
        return await self._request(
            "GET",
            PODS.path(namespace, pod, "log"),
            query={"container": container, "limitBytes": str(limit)},
            timeout=timeout,
            accept="*/*",
        )

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        data = await self._request(method, path, **options)
        try:
            return json.loads(data)
        except ValueError:
            # A proxy between operator and API server may answer with status 200 and a text of its own. Then the
            # operator does not know whether the API server got the request.
            raise errors.Unavailable(f"{method} {path}: the answer is no JSON") from None

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = None,
    ) -> bytes:
        headers = {"Accept": accept, "Content-Type": content, "User-Agent": MANAGER}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path
        if given := {name: value for name, value in (query or {}).items() if value}:
            url += "?" + urlencode(given)
        limit = aiohttp.ClientTimeout(total=timeout or self._settings.request_timeout, connect=5)
        try:
            response = await self._api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=limit
            )
            if response.status < 300:
                self.clock.heard(response.headers.get("Date"))
            data: bytes = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.Unavailable(f"{method} {path}: {type(error).__name__}: {error}") from None
        if 200 <= response.status < 300:
            return data
        raise _failed(response.status, response.headers.get("Retry-After"), data)


def _partial(kind: str) -> str:
    return f"application/json;as={kind};g=meta.k8s.io;v=v1"


def _failed(status: int, retry_after: str | None, data: bytes) -> errors.ApiError:
    try:
        told = json.loads(data)
        causes = " ".join(str(cause.get("reason")) for cause in (told.get("details") or {}).get("causes") or ())
        reason, message = str(told.get("reason") or ""), str(told.get("message") or "")
    except (ValueError, AttributeError, TypeError):
        causes = reason = ""
        message = data[:500].decode("utf-8", "replace")
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    return errors.from_response(status, reason, message, causes, seconds)
