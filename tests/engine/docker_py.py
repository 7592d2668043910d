"""The engine through docker-py, as many programs use it."""
import os

import docker

client = docker.DockerClient(base_url=os.environ["DOCKER_HOST"])
assert client.ping()
assert client.version()["ApiVersion"].startswith("1.")
assert client.containers.run("busybox", "echo seen", remove=True) == b"seen\n"
try:
    client.containers.run("busybox", "sh -c 'exit 3'", remove=True)
    raise SystemExit("an exit status is lost")
except docker.errors.ContainerError as e:
    assert e.exit_status == 3
try:
    client.images.get("nothing:none")
    raise SystemExit("an image that is not there was found")
except docker.errors.ImageNotFound:
    pass
c = client.containers.run("busybox", "sh -c 'echo out; echo err >&2; exec sleep 60'", detach=True, name="py", labels={"a": "b"}, mem_limit="64m")
try:
    code, output = c.exec_run(["sh", "-c", "echo inside; exit 4"])
    assert (code, output) == (4, b"inside\n"), (code, output)
    out, err = c.exec_run("sh -c 'echo o; echo e >&2'", demux=True).output
    assert (out, err) == (b"o\n", b"e\n")
    assert [x.name for x in client.containers.list(filters={"label": "a=b"})] == ["py"]
    assert c.logs(stdout=True, stderr=False) == b"out\n" and c.logs(stdout=False, stderr=True) == b"err\n"
    assert c.attrs["HostConfig"]["Memory"] == 64 << 20
    assert c.top()["Processes"]
    c.rename("py2")
    c.pause()
    c.reload()
    assert c.status == "paused"
    c.unpause()
    c.stop(timeout=1)
    assert c.wait()["StatusCode"] in (0, 137, 143)
finally:
    c.remove(force=True)
v = client.volumes.create("py-volume", labels={"k": "v"})
assert client.containers.run("busybox", "sh -c 'echo kept > /d/f'", volumes={"py-volume": {"bind": "/d", "mode": "rw"}}, remove=True) == b""
assert client.containers.run("busybox", "cat /d/f", volumes={"py-volume": {"bind": "/d", "mode": "ro"}}, remove=True) == b"kept\n"
v.remove()
