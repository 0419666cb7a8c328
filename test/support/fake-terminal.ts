/** A real pty of this machine. node has no ioctl; perl, which every Debian has, does the two calls. */
import { execFileSync } from 'node:child_process';
import { constants, openSync } from 'node:fs';

const SCRIPT = `
  my $unlocked = pack("i", 0);
  ioctl(STDIN, 0x40045431, $unlocked) or die "unlock: $!";
  my $number = pack("I", 0);
  ioctl(STDIN, 0x80045430, $number) or die "number: $!";
  print unpack("I", $number);
`;

export function openFakePty(): { master: number; slave: number } {
  const flags = constants.O_RDWR | constants.O_NOCTTY;
  const master = openSync('/dev/ptmx', flags);
  const number = execFileSync('perl', ['-e', SCRIPT], { stdio: [master, 'pipe', 'inherit'] }).toString();
  return { master, slave: openSync(`/dev/pts/${number}`, flags) };
}
