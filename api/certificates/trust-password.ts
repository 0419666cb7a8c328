/** The trust password: kept as LXD keeps it, hex(32 bytes of salt, 64 bytes of scrypt with N=2^14, r=8, p=1). */
import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto';
import { promisify } from 'node:util';

const SALT_BYTES = 32;
const HASH_BYTES = 64;
const COST: ScryptOptions = { N: 1 << 14, r: 8, p: 1 };

const derive: (password: string, salt: Buffer, length: number, cost: ScryptOptions) => Promise<Buffer> =
  promisify(scrypt);

export async function hashTrustPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  return Buffer.concat([salt, await derive(password, salt, HASH_BYTES, COST)]).toString('hex');
}

/** False for everything that is not the password, also when none is set. */
export async function isTrustPassword(stored: string, password: string): Promise<boolean> {
  const bytes = Buffer.from(stored, 'hex');
  if (bytes.length !== SALT_BYTES + HASH_BYTES || password === '') return false;
  const hash = await derive(password, bytes.subarray(0, SALT_BYTES), HASH_BYTES, COST);
  return timingSafeEqual(hash, bytes.subarray(SALT_BYTES));
}
