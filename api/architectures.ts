/** The kernel's names of what Node calls otherwise. */
const NAMES: Readonly<Record<string, string>> = {
  x64: 'x86_64',
  arm64: 'aarch64',
  ia32: 'i686',
  arm: 'armv7l',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
  loong64: 'loongarch64',
};

/** The name of this machine's architecture as the kernel, images and instances have it. */
export const HOST_ARCHITECTURE = NAMES[process.arch] ?? process.arch;
