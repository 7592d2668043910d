# The one door: each verb is a script of the same name.
.PHONY: demo build test bench cross clean

demo:    ; @scripts/demo
build:   ; @scripts/build x86_64
test:    ; @scripts/test
bench:   ; @scripts/bench
cross:   ; @scripts/build x86_64 aarch64 armv7 armv6 riscv64
clean:   ; @rm -rf target dist
