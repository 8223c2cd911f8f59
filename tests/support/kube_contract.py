"""Tests the features of an API server that the operator relies on, for the cluster in memory and for a real cluster.

A subclass defines the fixtures `kube`, the client, and `place`, the name of an unused namespace.
"""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from support.operator_specs import spec
from swarm_operator.cluster import client, errors
from swarm_operator.cluster.client import Kube
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS, PODS, Resource
from swarm_operator.compilation.api import API_VERSION, COMPILATIONS, FINALIZER, KIND
from swarm_operator.trigger import api as trigger

Object = dict[str, Any]
LABEL = "contract.example/of"


def config_map(**more: Any) -> Object:
    """Returns a ConfigMap with a name that no other test uses."""
    name = f"contract-{uuid4().hex[:12]}"
    metadata = {"name": name, "labels": {LABEL: name}, **more.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **more}


def suspended(name: str) -> Object:
    """Returns a suspended Compilation, whose run does not start."""
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec(suspend=True)}


async def kept(kube: Kube, place: str, body: Object, resource: Resource = CONFIG_MAPS) -> Object:
    """Creates the object, and returns it as the API server stores it."""
    await kube.create(resource, place, body)
    return await there(kube, place, body, resource)


async def there(kube: Kube, place: str, body: Object, resource: Resource = CONFIG_MAPS) -> Object:
    found = await kube.get(resource, place, body["metadata"]["name"])
    assert found is not None
    return found


def changed(body: Object, **more: Any) -> Object:
    """Returns the object with other content, and with `metadata` added to its own."""
    return {**body, "metadata": {**body["metadata"], **more.pop("metadata", {})}, **more}


class KubeContract:
    """The features of an API server that the operator relies on."""

    async def test_a_read_of_a_missing_object_returns_none(self, kube: Kube, place: str) -> None:
        assert await kube.get(CONFIG_MAPS, place, "not-there") is None
        assert await kube.get(CONFIG_MAPS, place, "not-there", metadata_only=True) is None

    async def test_a_write_to_a_missing_object_raises_the_error_vanished(self, kube: Kube, place: str) -> None:
        with pytest.raises(errors.Vanished):
            await kube.delete(CONFIG_MAPS, place, "not-there", "uid")
        with pytest.raises(errors.Vanished):
            await kube.patch(CONFIG_MAPS, place, "not-there", [{"op": "remove", "path": "/metadata/finalizers/0"}])
        body = {**suspended("not-there"), "status": {"round": 1}}
        with pytest.raises(errors.Vanished):
            await kube.apply(COMPILATIONS, place, "not-there", body, subresource="status")

    async def test_a_name_cannot_be_created_twice(self, kube: Kube, place: str) -> None:
        body = config_map(data={"a": "first"})
        first = await kept(kube, place, body)
        with pytest.raises(errors.Exists):
            await kube.create(CONFIG_MAPS, place, changed(body, data={"a": "second"}))
        assert await there(kube, place, body) == first

    async def test_an_invalid_name_is_rejected(self, kube: Kube, place: str) -> None:
        with pytest.raises(errors.Rejected):
            await kube.create(CONFIG_MAPS, place, changed(config_map(), metadata={"name": "Not_A_Name"}))

    async def test_a_recreated_object_has_another_uid(self, kube: Kube, place: str) -> None:
        body = config_map()
        first = await kept(kube, place, body)
        await kube.delete(CONFIG_MAPS, place, body["metadata"]["name"], first["metadata"]["uid"])
        assert await kube.get(CONFIG_MAPS, place, body["metadata"]["name"]) is None
        second = await kept(kube, place, body)
        assert second["metadata"]["uid"] != first["metadata"]["uid"]

    async def test_an_immutable_config_map_keeps_its_data(self, kube: Kube, place: str) -> None:
        body = config_map()
        await kube.create(CONFIG_MAPS, place, body)
        name = body["metadata"]["name"]
        await kube.apply(CONFIG_MAPS, place, name, changed(body, data={"a": "1"}, immutable=True))
        with pytest.raises(errors.Rejected):
            await kube.apply(CONFIG_MAPS, place, name, changed(body, data={"a": "2"}, immutable=True))
        assert (await there(kube, place, body))["data"] == {"a": "1"}

    async def test_an_apply_does_not_overwrite_data_that_was_not_applied(self, kube: Kube, place: str) -> None:
        """An apply cannot change data that a create wrote. So the operator creates a ConfigMap empty, and applies its
        data later."""
        body = config_map(data={"a": "created"})
        await kube.create(CONFIG_MAPS, place, body)
        with pytest.raises(errors.Conflict):
            await kube.apply(CONFIG_MAPS, place, body["metadata"]["name"], changed(body, data={"a": "applied"}))
        assert (await there(kube, place, body))["data"] == {"a": "created"}

    @pytest.mark.parametrize("other", [{}, {"uid": str(uuid4())}], ids=["an older state", "a namesake"])
    async def test_an_apply_to_a_recreated_or_changed_object_conflicts(
        self, kube: Kube, place: str, other: dict[str, str]
    ) -> None:
        """If the operator sent only the uid, an API server would answer that the object is invalid."""
        body = config_map()
        seen = await kept(kube, place, body)
        name = body["metadata"]["name"]
        now = {key: seen["metadata"][key] for key in ("uid", "resourceVersion")}
        await kube.apply(CONFIG_MAPS, place, name, changed(body, metadata=now, data={"a": "1"}))
        with pytest.raises(errors.Conflict):
            await kube.apply(CONFIG_MAPS, place, name, changed(body, metadata=now | other, data={"a": "2"}))
        assert (await there(kube, place, body))["data"] == {"a": "1"}

    async def test_a_delete_with_the_uid_of_another_object_conflicts_and_deletes_nothing(
        self, kube: Kube, place: str
    ) -> None:
        body = config_map()
        await kube.create(CONFIG_MAPS, place, body)
        with pytest.raises(errors.Conflict):
            await kube.delete(CONFIG_MAPS, place, body["metadata"]["name"], str(uuid4()))
        assert "deletionTimestamp" not in (await there(kube, place, body))["metadata"]

    async def test_a_patch_whose_test_fails_is_rejected_and_changes_nothing(self, kube: Kube, place: str) -> None:
        body = config_map(data={"a": "1"})
        seen = await kept(kube, place, body)
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": "another"},
            {"op": "replace", "path": "/data/a", "value": "2"},
        ]
        with pytest.raises(errors.Rejected):
            await kube.patch(CONFIG_MAPS, place, body["metadata"]["name"], operations)
        assert await there(kube, place, body) == seen

    async def test_a_deleted_object_disappears_once_its_finalizer_is_removed(self, kube: Kube, place: str) -> None:
        body = config_map(metadata={"finalizers": [FINALIZER]})
        name, seen = body["metadata"]["name"], await kept(kube, place, body)
        await kube.delete(CONFIG_MAPS, place, name, seen["metadata"]["uid"])
        assert "deletionTimestamp" in (await there(kube, place, body))["metadata"]
        with pytest.raises(errors.Exists):
            await kube.create(CONFIG_MAPS, place, body)
        path = "/metadata/finalizers/0"
        operations = [{"op": "test", "path": path, "value": FINALIZER}, {"op": "remove", "path": path}]
        await kube.patch(CONFIG_MAPS, place, name, operations)
        assert await kube.get(CONFIG_MAPS, place, name) is None

    async def test_a_selector_finds_objects_with_all_of_its_labels(self, kube: Kube, place: str) -> None:
        mark = uuid4().hex[:12]
        for index, labels in enumerate([{"a": mark, "b": "1"}, {"a": mark, "b": "2"}, {"a": mark}, {"b": "1"}]):
            body = config_map()
            body["metadata"] |= {"labels": labels, "name": f"contract-{mark}-{index}"}
            await kube.create(CONFIG_MAPS, place, body)
        for selector, wanted in ((f"a={mark}", [0, 1, 2]), (f"a={mark},b=1", [0]), (f"a={mark},c=1", [])):
            found = await kube.select(CONFIG_MAPS, place, labels=selector)
            assert [item["metadata"]["name"] for item in found] == [f"contract-{mark}-{index}" for index in wanted]
        assert len(await kube.select(CONFIG_MAPS, None, labels=f"a={mark}")) == 3, "of all namespaces"

    async def test_a_list_has_all_objects_even_if_it_has_several_pages(
        self, kube: Kube, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "PAGE", 3)
        mark = uuid4().hex[:12]
        bodies = [config_map(metadata={"labels": {LABEL: mark}}) for _ in range(7)]
        await asyncio.gather(*(kube.create(CONFIG_MAPS, place, body) for body in bodies))
        for metadata_only in (False, True):
            found = await kube.select(CONFIG_MAPS, place, labels=f"{LABEL}={mark}", metadata_only=metadata_only)
            names = [item["metadata"]["name"] for item in found]
            assert sorted(names) == sorted(body["metadata"]["name"] for body in bodies)

    async def test_a_list_of_metadata_has_no_content_of_objects(self, kube: Kube, place: str) -> None:
        body = config_map(data={"a": "1"})
        whole = await kept(kube, place, body)
        alone = await kube.get(CONFIG_MAPS, place, body["metadata"]["name"], metadata_only=True)
        listed = await kube.select(CONFIG_MAPS, place, labels=f"{LABEL}={body['metadata']['name']}", metadata_only=True)
        assert alone is not None
        for found in (alone, *listed):
            assert found["metadata"] == whole["metadata"]
            assert "data" not in found
        assert len(listed) == 1

    async def test_events_are_found_by_object_and_reason(self, kube: Kube, place: str) -> None:
        uid = str(uuid4())
        for reason, of in (("FailedCreate", uid), ("Other", uid), ("FailedCreate", str(uuid4()))):
            body = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"contract-{uuid4().hex[:12]}"},
                "involvedObject": {"kind": "Job", "name": "a", "namespace": place, "uid": of},
                "type": "Warning",
                "reason": reason,
                "message": f"{reason} of {of}",
            }
            await kube.create(EVENTS, place, body)
        found = await kube.select(EVENTS, place, fields=f"involvedObject.uid={uid},reason=FailedCreate")
        assert [item["message"] for item in found] == [f"FailedCreate of {uid}"]

    async def test_a_write_of_the_status_leaves_the_spec_alone(self, kube: Kube, place: str) -> None:
        """A real cluster's operator also writes the status. The version then changes, and the test writes again."""
        body = suspended(f"contract-{uuid4().hex[:12]}")
        name, before = body["metadata"]["name"], await kept(kube, place, body, COMPILATIONS)
        for _ in range(20):
            seen = await there(kube, place, body, COMPILATIONS)
            now = {key: seen["metadata"][key] for key in ("uid", "resourceVersion")}
            wanted = {**changed(body, metadata=now), "status": {"observedGeneration": 1}}
            try:
                await kube.apply(COMPILATIONS, place, name, wanted, subresource="status")
                break
            except errors.Conflict:
                continue
        after = await there(kube, place, body, COMPILATIONS)
        assert after["status"]["observedGeneration"] == 1
        assert after["spec"] == before["spec"]
        with pytest.raises(errors.Conflict):
            await kube.apply(COMPILATIONS, place, name, wanted, subresource="status")

    async def test_a_patch_of_the_status_adds_a_field_and_leaves_the_others(self, kube: Kube, place: str) -> None:
        name = f"contract-{uuid4().hex[:12]}"
        body = {
            "apiVersion": API_VERSION,
            "kind": trigger.KIND,
            "metadata": {"name": name},
            "spec": {"schedules": [{"cron": "0 2 * * *"}], "suspend": True, "template": {"spec": spec()}},
        }
        await kube.create(trigger.TRIGGERS, place, body)
        await kube.apply(
            trigger.TRIGGERS, place, name, {**body, "status": {"observedGeneration": 1}}, subresource="status"
        )
        operations = [{"op": "add", "path": "/status/lookRequestedAt", "value": "2026-11-30T12:00:00Z"}]
        await kube.patch(trigger.TRIGGERS, place, name, operations, subresource="status")
        found = await there(kube, place, body, trigger.TRIGGERS)
        assert found["status"]["observedGeneration"] == 1
        assert found["status"]["lookRequestedAt"] == "2026-11-30T12:00:00Z"

    async def test_a_missing_pod_has_no_output(self, kube: Kube, place: str) -> None:
        with pytest.raises(errors.Vanished):
            await kube.log(place, "not-there", "worker", limit=10, timeout=5)
        assert await kube.get(PODS, place, "not-there") is None
