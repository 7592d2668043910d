#!/usr/bin/env python3
"""push.py - pushes images to a registry without any engine, for tests and demos.

  push.py [--gzip|--zstd|--plain] [--oci] [--index] [--platform OS/ARCH[/VARIANT]] http://HOST:PORT ARCHIVE NAME:TAG

ARCHIVE is a docker-archive ("docker save"). With --index the tag is an index with the image and an attestation.
As a module: Registry(url).push(name, tag, layers, config) with layers as tar bytes.
"""
import argparse, gzip, hashlib, json, os, subprocess, sys, tarfile, urllib.parse, urllib.request

DOCKER = {"manifest": "application/vnd.docker.distribution.manifest.v2+json", "list": "application/vnd.docker.distribution.manifest.list.v2+json",
          "config": "application/vnd.docker.container.image.v1+json", "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
          "plain": "application/vnd.docker.image.rootfs.diff.tar", "zstd": "application/vnd.oci.image.layer.v1.tar+zstd"}
OCI = {"manifest": "application/vnd.oci.image.manifest.v1+json", "list": "application/vnd.oci.image.index.v1+json",
       "config": "application/vnd.oci.image.config.v1+json", "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
       "plain": "application/vnd.oci.image.layer.v1.tar", "zstd": "application/vnd.oci.image.layer.v1.tar+zstd"}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compress(data, how):
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-3", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


class Registry:
    def __init__(self, url):
        self.url = url.rstrip("/")

    def call(self, method, path, data=None, **headers):
        url = path if "://" in path else self.url + path
        request = urllib.request.Request(url, data=data, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return urllib.request.urlopen(request)

    def blob(self, name, data):
        d = digest(data)
        try:
            self.call("HEAD", f"/v2/{name}/blobs/{d}")
            return d
        except urllib.error.HTTPError:
            pass
        place = self.call("POST", f"/v2/{name}/blobs/uploads/", b"").headers["Location"]
        sep = "&" if "?" in place else "?"
        self.call("PUT", f"{place}{sep}digest={urllib.parse.quote(d)}", data, Content_Type="application/octet-stream")
        return d

    def manifest(self, name, ref, doc, kind):
        data = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
        self.call("PUT", f"/v2/{name}/manifests/{ref}", data, Content_Type=kind)
        return digest(data), len(data)

    def push(self, name, tag, layers, config=None, how="gzip", oci=False, index=False, platform=("linux", "amd64", ""), blobs=None):
        types = OCI if oci else DOCKER
        if config is None:
            config = {"architecture": platform[1], "os": platform[0], "config": {"Cmd": ["sh"]},
                      "rootfs": {"type": "layers", "diff_ids": [digest(x) for x in layers]}}
            if platform[2]:
                config["variant"] = platform[2]
        config = config if isinstance(config, bytes) else json.dumps(config).encode()
        blobs = blobs or [compress(x, how) for x in layers]
        doc = {"schemaVersion": 2, "mediaType": types["manifest"],
               "config": {"mediaType": types["config"], "digest": self.blob(name, config), "size": len(config)},
               "layers": [{"mediaType": types[how], "digest": self.blob(name, b), "size": len(b)} for b in blobs]}
        data = json.dumps(doc).encode()
        d, n = self.manifest(name, digest(data) if index else tag, data, types["manifest"])
        if index:
            p = {"os": platform[0], "architecture": platform[1]}
            if platform[2]:
                p["variant"] = platform[2]
            d, n = self.manifest(name, tag, {"schemaVersion": 2, "mediaType": types["list"], "manifests": [
                {"mediaType": types["manifest"], "digest": d, "size": n, "platform": p}]}, types["list"])
        return digest(config), d

    def push_archive(self, archive, name, tag, **how):
        t = tarfile.open(archive)
        read = lambda n: t.extractfile(n).read()
        image = json.loads(read("manifest.json"))[0]
        return self.push(name, tag, [read(x) for x in image["Layers"]], read(image["Config"]), **how)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("registry")
    ap.add_argument("archive")
    ap.add_argument("name")
    for how in ("gzip", "zstd", "plain"):
        ap.add_argument("--" + how, dest="how", action="store_const", const=how, default="gzip")
    ap.add_argument("--oci", action="store_true")
    ap.add_argument("--index", action="store_true")
    ap.add_argument("--platform", default="linux/amd64")
    a = ap.parse_args()
    name, tag = a.name.rsplit(":", 1)
    platform = tuple((a.platform.split("/") + [""])[:3])
    print(*Registry(a.registry).push_archive(a.archive, name, tag, how=a.how, oci=a.oci, index=a.index, platform=platform))


if __name__ == "__main__":
    main()
