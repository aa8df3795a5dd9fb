"""Which emulated machine stands for which family of devices, and which kernel
of Debian runs on it."""

import dataclasses
from dataclasses import dataclass

# Debian 12, the last one with a kernel for 32-bit MIPS.
_BOOKWORM = ("bookworm",)


@dataclass(frozen=True)
class Machine:
    """A machine of QEMU with a kernel of Debian."""

    # QEMU's program, Debian's package of it, and its words for the machine.
    program: str
    package: str
    words: tuple
    # Megabytes.
    memory: int
    # Debian's suites, of which the first that can be had is taken; architecture
    # and metapackage of the kernel.
    suites: tuple
    architecture: str
    kernel: str
    modules: tuple
    # The network card in QEMU's words, and the console as the kernel calls it.
    card: str
    console: str
    # What a reader should know of how far this is from the device.
    remark: str = ""
    device_tree: str = ""
    # More of the kernel's command line.
    kernel_words: str = ""
    # Megabytes (2^20) that go through the tunnel.
    stream: int = 64


def _arm(program, package, processor, architecture, kernel):
    # The generic board of both ARM architectures.
    return Machine(
        program, package, ("-M", "virt", "-cpu", processor), 128, _BOOKWORM, architecture, kernel,
        ("virtio_mmio", "virtio_net"), "virtio-net-device", "ttyAMA0",
    )


# The first one, which has no network of its own: a card on USB. Its board
# knows no other size of memory.
_RASPBERRY_PI = Machine(
    "qemu-system-arm", "qemu-system-arm", ("-M", "raspi1ap"), 512, _BOOKWORM, "armel", "linux-image-rpi",
    ("cdc_ether",), "usb-net", "ttyAMA0", device_tree="bcm2835-rpi-a-plus.dtb",
    # QEMU has no such part, and the kernel panics on its absence.
    kernel_words="initcall_blacklist=bcm2835_power_driver_init",
    # Its emulated USB carries some 120 KB/s.
    stream=16,
)

MACHINES = {
    "mipsel": Machine(
        "qemu-system-mipsel", "qemu-system-mips", ("-M", "malta", "-cpu", "24Kc"), 64,
        _BOOKWORM, "mipsel", "linux-image-4kc-malta", ("mii", "pcnet32"), "pcnet,romfile=", "ttyS0",
    ),
    "armv7": _arm("qemu-system-arm", "qemu-system-arm", "cortex-a7", "armhf", "linux-image-armmp"),
    "aarch64": _arm("qemu-system-aarch64", "qemu-system-arm", "cortex-a53", "arm64", "linux-image-arm64"),
    "armv6": _RASPBERRY_PI,
    # Debian's kernel for these processors (Marvell's) is for boards that QEMU
    # has not; this one runs their programs.
    "armv5te": dataclasses.replace(_RASPBERRY_PI, remark="an ARMv6 processor and kernel"),
    "riscv64": Machine(
        "qemu-system-riscv64", "qemu-system-misc", ("-M", "virt"), 256,
        ("trixie", "forky"), "riscv64", "linux-image-riscv64",
        ("virtio_mmio", "virtio_net"), "virtio-net-device", "ttyS0",
    ),
    "x86_64": Machine(
        "qemu-system-x86_64", "qemu-system-x86", ("-M", "q35"), 256,
        _BOOKWORM, "amd64", "linux-image-amd64", ("virtio_pci", "virtio_net"), "virtio-net-pci,romfile=", "ttyS0",
    ),
    # No suite of Debian that is still on the mirrors has a big-endian MIPS kernel.
    "mips": None,
}
