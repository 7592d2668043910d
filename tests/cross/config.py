#!/usr/bin/env python3
"""Fails unless Cross.toml says nothing that cross 0.2.5 does not know (it only warns of that), and names one image, by a tag or digest that is not
`latest`, for each target that scripts/build builds, each linked by rust-lld; and unless these are
the targets of .cargo/config.toml."""
import pathlib, re, sys, tomllib

root = pathlib.Path(__file__).parents[2]
ENV = {"volumes", "passthrough"}
BUILD = {"env", "xargo", "build-std", "default-target", "pre-build", "dockerfile"}
TARGET = {"xargo", "build-std", "image", "dockerfile", "pre-build", "runner", "env"}


def wrong():
    cross = tomllib.loads((root / "Cross.toml").read_text())
    targets = cross.get("target", {})
    unknown = set(cross) - {"build", "target"} | set(cross.get("build", {})) - BUILD | set(cross.get("build", {}).get("env", {})) - ENV
    for name, about in targets.items():
        unknown |= set(about) - TARGET | set(about.get("env", {})) - ENV
        image = about.get("image", "")
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/%s(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})" % re.escape(name), image):
            yield "%s: image %r has no version, or is another target's" % (name, image)
        if "CARGO_TARGET_%s_LINKER=rust-lld" % name.upper().replace("-", "_") not in about.get("env", {}).get("passthrough", []):
            yield "%s: not linked by rust-lld" % name
    if unknown:
        yield "unknown keys: " + ", ".join(sorted(unknown))
    built = set(re.findall(r"\]=([\w-]+)", (root / "scripts/build").read_text()))
    cargo = {name for name in tomllib.loads((root / ".cargo/config.toml").read_text())["target"] if not name.startswith("cfg")}
    if not set(targets) == built == cargo or len(built) != 5:
        yield "targets: %s here, %s in scripts/build, %s in .cargo/config.toml" % (sorted(targets), sorted(built), sorted(cargo))


sys.exit("; ".join(wrong()) or None)
