"""The manifests agree with acrelay, with the image, and with Kubernetes' published API: each field
exists there and has the right type and form. The published API comes from npm (`make
kubernetes-api`, also part of `make test-container`)."""
import json
import os
import re
import shutil
import subprocess

import harness
import pod
import pytest
import yaml

API = harness.ROOT / "build" / "kubernetes"
MANIFESTS = pod.manifests()
SPEC = MANIFESTS["StatefulSet"]["spec"]["template"]["spec"]
RECEIVER, WORKER = SPEC["containers"]
CONTAINERFILE = (harness.ROOT / "deploy" / "container" / "Containerfile").read_text()


def settings():
    return yaml.safe_load(MANIFESTS["ConfigMap"]["data"]["acrelay.yaml"])


def port_of(address):
    return int(address.rpartition(":")[2])


# --- acrelay and the image ---------------------------------------------------------------------

def test_the_configuration_is_right(tmp_path):
    for name in ("hook-secret", "api-token"):
        (tmp_path / name).write_text("x" * 44)
        (tmp_path / name).chmod(0o600)
    config = tmp_path / "acrelay.yaml"
    config.write_text(re.sub(r"/run/secrets/[\w-]+", str(tmp_path),
                             MANIFESTS["ConfigMap"]["data"]["acrelay.yaml"]))
    fields = {"POD_IP": "10.1.2.3", "POD_NAME": "acrelay-0", "POD_NAMESPACE": "default"}
    assert {one["name"] for one in RECEIVER["env"]} == set(fields) and \
        RECEIVER["env"] == WORKER["env"]
    done = subprocess.run([harness.BUILD / "acrelay", "check", "--offline", "--config", config],
                          capture_output=True, text=True, env={**os.environ, **fields})
    assert done.returncode == 0 and "0 errors, 0 warnings" in done.stdout, done.stdout


def test_ports_are_those_of_the_configuration():
    named = {port["name"]: port["containerPort"]
             for one in (RECEIVER, WORKER) for port in one["ports"]}
    assert named == {"http": port_of(settings()["receiver"]["listen"][0]),
                     "admin": port_of(settings()["receiver"]["admin"]),
                     "worker-admin": port_of(settings()["worker"]["admin"])}
    policy = MANIFESTS["NetworkPolicy"]["spec"]
    used = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert sorted(used) == sorted(named)
    [port] = MANIFESTS["Service"]["spec"]["ports"]
    assert port["targetPort"] == "http" and port["port"] == named["http"]


def test_probes_ask_the_admin_listener_of_their_container():
    for one, port in ((RECEIVER, "admin"), (WORKER, "worker-admin")):
        for name, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"),
                           ("readinessProbe", "/readyz")):
            if name in one:
                assert one[name]["httpGet"] == {"path": path, "port": port}, name
    assert "readinessProbe" in RECEIVER and "livenessProbe" in RECEIVER and "livenessProbe" in WORKER
    # The pod must get deliveries whatever the worker finds.
    assert "readinessProbe" not in WORKER


def test_each_container_has_what_it_needs_and_no_more():
    def mounted(one):
        assert not any("subPath" in mount for mount in one["volumeMounts"])
        return {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}
    receiver, worker = mounted(RECEIVER), mounted(WORKER)
    assert set(receiver) == {"journal", "config", "hook"}
    assert set(worker) == {"config", "hook", "api"}
    given = {one["name"] for one in SPEC["volumes"]} | {
        one["metadata"]["name"] for one in
        MANIFESTS["StatefulSet"]["spec"]["volumeClaimTemplates"]}
    assert given == set(receiver) | set(worker)
    assert settings()["receiver"]["state_dir"].startswith(receiver["journal"] + "/")
    [secret] = settings()["secret_files"]
    assert secret.startswith(receiver["hook"] + "/")
    assert settings()["account"]["api_token_file"].startswith(worker["api"] + "/")
    for one in (RECEIVER, WORKER):
        assert one["args"][one["args"].index("--config") + 1] == \
            mounted(one)["config"] + "/acrelay.yaml"


def test_the_pod_is_confined():
    assert f"USER {SPEC['securityContext']['runAsUser']}:{SPEC['securityContext']['runAsGroup']}\n" \
        in CONTAINERFILE
    assert SPEC["securityContext"]["runAsNonRoot"] is True
    assert SPEC["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in (RECEIVER, WORKER):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]}}
        assert set(one["resources"]) == {"requests", "limits"}
    secrets = [one["secret"] for one in SPEC["volumes"] if "secret" in one]
    assert [one["defaultMode"] for one in secrets] == [0o440, 0o440]
    assert SPEC["terminationGracePeriodSeconds"] > 25


def test_selectors_select_the_pod():
    labels = MANIFESTS["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    for selector in (MANIFESTS["StatefulSet"]["spec"]["selector"],
                     MANIFESTS["PodDisruptionBudget"]["spec"]["selector"],
                     MANIFESTS["NetworkPolicy"]["spec"]["podSelector"]):
        assert selector == {"matchLabels": labels}
    assert MANIFESTS["StatefulSet"]["spec"]["serviceName"] == \
        MANIFESTS["Service"]["metadata"]["name"]


# --- the published API ---------------------------------------------------------------------------

needs_api = pytest.mark.skipif(
    not (API / "node_modules" / "typescript").exists() or not shutil.which("node"),
    reason="the published API of Kubernetes is not here: make kubernetes-api")


def wrong_types(documents, directory):
    """Numbers of the documents that the TypeScript compiler refuses as values of the API's types;
    it refuses a field that the API has not."""
    lines = [f'import {{ I{one["kind"]} as Type{number} }} from '
             f'"kubernetes-models/{one["apiVersion"]}/{one["kind"]}"; '
             f"export const value{number}: Type{number} = {json.dumps(one)};"
             for number, one in enumerate(documents)]
    (directory / "manifests.ts").write_text("\n".join(lines) + "\n")
    (directory / "node_modules").symlink_to(API / "node_modules")
    done = subprocess.run(
        ["node", API / "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck",
         "--module", "nodenext", "--moduleResolution", "nodenext", "manifests.ts"], cwd=directory,
        capture_output=True, text=True, timeout=120)
    found = re.findall(r"^manifests\.ts\((\d+),", done.stdout, re.M)
    assert bool(found) == (done.returncode != 0), done.stdout
    return {int(line) - 1 for line in found}, done.stdout


MISTAKES = [
    lambda spec: spec["containers"][0].update(readOnly=True),
    lambda spec: spec["securityContext"].update(fsGroup="980"),
    lambda spec: spec["containers"][0]["readinessProbe"].update(failureTreshold=3),
    lambda spec: spec["volumes"][1]["secret"].update(mode=0o440)]


@needs_api
def test_each_field_is_one_of_the_published_api(tmp_path):
    broken = []
    for mistake in MISTAKES:
        broken.append(pod.manifests()["StatefulSet"])
        mistake(broken[-1]["spec"]["template"]["spec"])
    wrong, said = wrong_types([*MANIFESTS.values(), *broken], tmp_path)
    first = len(MANIFESTS)
    assert wrong == set(range(first, first + len(MISTAKES))), said


VALIDATE = """
const documents = JSON.parse(require("fs").readFileSync(0));
for (const one of documents)
    new (require(`kubernetes-models/${one.apiVersion}/${one.kind}`)[one.kind])(one).validate();
"""


@needs_api
def test_values_have_the_form_that_the_api_asks_for():
    def validate(*documents):
        return subprocess.run(["node", "-e", VALIDATE], cwd=API, capture_output=True, text=True,
                              input=json.dumps(documents), timeout=60)
    done = validate(*MANIFESTS.values())
    assert done.returncode == 0, done.stderr
    service = json.loads(json.dumps(MANIFESTS["Service"]))
    service["spec"]["ports"][0]["port"] = "eighty"
    assert validate(service).returncode != 0
