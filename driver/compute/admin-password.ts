/** Passwords made here, when nobody chose one. */
import { randomInt } from 'node:crypto';

/** As Nova's: no letter that could be taken for a digit. */
const LETTERS = '23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** `length` is `password_length` of nova.conf. */
export function generatePassword(length: number): string {
  return Array.from({ length }, () => LETTERS[randomInt(LETTERS.length)] ?? '').join('');
}
