/** What an image alias may be called. Pure. */
import { Fault } from '../../process/fault.ts';

/** The name, when an alias can have it; Fault bad_request else. Slashes may part it. */
export function checkAliasName(name: string): string {
  if (
    name === '' ||
    name.length > 255 ||
    /\p{Cc}/u.test(name) ||
    name.startsWith('/') ||
    name.endsWith('/')
  ) {
    throw new Fault(
      'bad_request',
      'an alias needs a name of at most 255 characters that does not begin or end with "/"',
    );
  }
  return name;
}
