"""The device families that Kitelet is built for, in one table: what a person
calls them, what rustc calls them, and what a binary for them must look like."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One family of devices."""

    # What a person types.
    name: str
    triple: str
    # Which devices this is for.
    devices: str
    # What zig calls it.
    zig: str
    # What `readelf -h` says of the machine, and of the byte order.
    machine: str
    # qemu-user's name of the processor.
    qemu: str
    # How the crates are told what musl's times are.
    times: str = "--cfg=libc_unstable_musl_v1_2"
    # More words for rustc and for the C compiler.
    rustflags: tuple = ()
    cflags: tuple = ()
    # Words for zig on the processor, where the default is too new.
    zig_cpu: tuple = ()
    order: str = "little"
    # Whether ring has assembly for its ciphers there. Where it has none, its Rust is
    # worth its size.
    has_assembly: bool = True
    # Whether ring has a large table for P-256 there that it can do without; on
    # x86_64 its X25519 hangs on the same switch.
    has_p256_table: bool = False
    # What `readelf -A` must say, and must not.
    attributes: tuple = ()
    no_attributes: tuple = ()


# Through musl the crate rustix hands over times of 64 bits where 32 are meant, and
# every timer stalls. `libc_unstable_musl_v1_2` makes that right on little-endian
# processors only; with this, which rustix sets by itself for glibc, both
# kinds of MIPS convert to the 32 bits that the standard library has there anyway.
MIPS_TIMES = "--cfg=fix_y2038"

TARGETS = (
    Target("aarch64", "aarch64-unknown-linux-musl", "64-bit Raspberry Pi OS, most newer routers and gateways",
           "aarch64-linux-musl", "AArch64", "aarch64", has_p256_table=True),
    Target("armv7", "armv7-unknown-linux-musleabihf", "32-bit ARM with FPU: Raspberry Pi 2-4, BeagleBone, many gateways",
           "arm-linux-musleabihf", "ARM", "arm",
           # Thumb-2: a third smaller than ARM code.
           rustflags=("-Ctarget-feature=+thumb-mode",), cflags=("-mthumb",),
           zig_cpu=("-mcpu=generic+v7a+vfp3-d32+thumb2-neon",),
           attributes=("Tag_CPU_arch: v7", "Tag_ABI_VFP_args: VFP registers", "Tag_FP_arch: VFPv3-D16"),
           no_attributes=("Tag_Advanced_SIMD_arch",)),
    Target("armv6", "arm-unknown-linux-musleabihf", "every 32-bit Raspberry Pi, the first and Zero as well",
           "arm-linux-musleabihf", "ARM", "arm",
           zig_cpu=("-mcpu=generic+v6+strict_align+vfp2-d32",),
           attributes=("Tag_CPU_arch: v6", "Tag_ABI_VFP_args: VFP registers"),
           no_attributes=("Tag_Advanced_SIMD_arch",)),
    Target("armv5te", "armv5te-unknown-linux-musleabi", "ARM routers and NAS without FPU (on trial)",
           "arm-linux-musleabi", "ARM", "arm",
           zig_cpu=("-mcpu=generic+v5te+soft_float+strict_align",),
           attributes=("Tag_CPU_arch: v5TE",),
           no_attributes=("Tag_ABI_VFP_args", "Tag_Advanced_SIMD_arch")),
    Target("mipsel", "mipsel-unknown-linux-musl", "little-endian MIPS routers: MT7620, MT7621, MT7628",
           "mipsel-linux-musleabi", "MIPS R3000", "mipsel",
           times=MIPS_TIMES, has_assembly=False, attributes=("ISA: MIPS32r2", "FP ABI: Soft float")),
    Target("mips", "mips-unknown-linux-musl", "big-endian MIPS routers: ath79, lantiq",
           "mips-linux-musleabi", "MIPS R3000", "mips",
           order="big", times=MIPS_TIMES, has_assembly=False, attributes=("ISA: MIPS32r2", "FP ABI: Soft float")),
    Target("riscv64", "riscv64gc-unknown-linux-musl", "64-bit RISC-V boards",
           "riscv64-linux-musl", "RISC-V", "riscv64", has_assembly=False),
    Target("x86_64", "x86_64-unknown-linux-musl", "PCs, servers and x86 gateways",
           "x86_64-linux-musl", "Advanced Micro Devices X86-64", "x86_64"),
)


def find(word):
    """The target of that name or triple, or None."""
    return next((target for target in TARGETS if word in (target.name, target.triple)), None)
