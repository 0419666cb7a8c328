/**
 * /etc/fstab of a virtual machine, for a container: lines about disks become
 * comments. Left as they are, systemd would wait ninety seconds for each disk
 * that never comes, and fail to mount the root once more. Pure.
 */
const NOTE = '# Commented out: a container has no such disk.';
const NOT_DISKS = new Set([
  'tmpfs',
  'proc',
  'sysfs',
  'devpts',
  'none',
  'cgroup',
  'cgroup2',
  'mqueue',
  'hugetlbfs',
]);
const DISK_TAGS = /^(LABEL|UUID|PARTUUID|PARTLABEL|ID)=/i;

/** Every line is kept; harmless when done twice. */
export function containerFstab(text: string): string {
  return text
    .split('\n')
    .flatMap((line) => (isOfDisk(line) ? [NOTE, `# ${line}`] : [line]))
    .join('\n');
}

function isOfDisk(line: string): boolean {
  const [device = '', target = '', type = ''] = line.trim().split(/\s+/);
  if (device === '' || device.startsWith('#')) return false;
  if (target === '/' || type === 'swap') return true;
  if (NOT_DISKS.has(type)) return false;
  return DISK_TAGS.test(device) || device.startsWith('"') || device.startsWith('/dev/');
}
