"""The boards: which of Debian's packages, which machine of QEMU's, and where the board has its disk, network and console."""
from dataclasses import dataclass

# Loaded by the initramfs, to find the root; what is built into a kernel is passed over.
DISK = ["virtio_pci", "virtio_blk", "ext4", "crc32c_generic", "erofs"]
# In /lib/modules of the root, loaded on demand as on any board.
ROOT = ["virtio_net", "f2fs", "crc32_generic", "overlay", "bridge", "veth", "nf_tables", "nft_chain_nat", "nft_masq", "nft_ct", "af_packet", "ipv6"]


@dataclass(frozen=True)
class Arch:
    name: str        # as in dist/NAME/prtiql; what follows a `-` is a kind of kernel
    debian: str      # Debian's name of the architecture
    flavour: str     # of the kernel package
    platform: str    # as Docker writes it
    qemu: str        # the program's suffix
    machine: tuple   # its arguments
    console: str
    net: str = "virtio-net-pci,netdev=net,romfile="
    disk: str = "vda"
    options: str = ""        # for the kernel
    dtb: str = ""
    modules: tuple = ()      # for the root, loaded at boot

    @property
    def binary(self):
        return self.name.partition("-")[0]


ARCHES = {a.name: a for a in [
    Arch("x86_64", "amd64", "amd64", "linux/amd64", "x86_64", ("-M", "q35", "-cpu", "max", "-accel", "tcg"), "ttyS0"),
    Arch("aarch64", "arm64", "arm64", "linux/arm64/v8", "aarch64", ("-M", "virt", "-cpu", "cortex-a53"), "ttyAMA0"),
    # the same program with pages of 16 KiB, which that processor does not have
    Arch("aarch64-16k", "arm64", "arm64-16k", "linux/arm64/v8", "aarch64", ("-M", "virt", "-cpu", "cortex-a76"), "ttyAMA0"),
    Arch("armv7", "armhf", "armmp", "linux/arm/v7", "arm", ("-M", "virt,highmem=off", "-cpu", "cortex-a15"), "ttyAMA0"),
    # A Raspberry Pi Zero: no PCI, no virtio; its power driver hangs on what QEMU does not model.
    Arch("armv6", "armel", "rpi", "linux/arm/v6", "arm", ("-M", "raspi0"), "ttyAMA0", net="usb-net,netdev=net", disk="mmcblk0p",
         options="initcall_blacklist=bcm2835_power_driver_init", dtb="bcm2835-rpi-zero.dtb", modules=("cdc_ether",)),
    Arch("riscv64", "riscv64", "riscv64", "linux/riscv64", "riscv64", ("-M", "virt", "-cpu", "rv64"), "ttyS0"),
]}
