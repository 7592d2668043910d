# The one door: each verb is a script of the same name.
.PHONY: demo build test test-vm bench powercut cross clean

demo:    ; @scripts/demo
build:   ; @scripts/build x86_64
test:    ; @scripts/test
test-vm: ; @scripts/test-vm
bench:   ; @scripts/bench
powercut:; @scripts/powercut --all
cross:   ; @scripts/build x86_64 aarch64 armv7 armv6 riscv64
clean:   ; @rm -rf target dist
