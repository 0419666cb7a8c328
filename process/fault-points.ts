/**
 * Places where a test can have the process killed, as a power cut would.
 *
 * The program itself never arms one, so nothing happens and nothing is looked
 * up. Steps that a crash could tear apart have a point between them; the test
 * of survival finds the names in the sources and arms each in turn.
 */

let armed: { readonly name: string; left: number } | null = null;

/** Arms one point: `<name>`, or `<name>:<n>` for the n-th time it is passed. '' disarms. */
export function armFaultPoint(text: string): void {
  const at = text.lastIndexOf(':');
  const name = at < 0 ? text : text.slice(0, at);
  const times = at < 0 ? 1 : Number(text.slice(at + 1));
  armed = name === '' ? null : { name, left: Number.isInteger(times) && times > 0 ? times : 1 };
}

/** Ends the process by SIGKILL when this point is the armed one. */
export function faultPoint(name: string): void {
  if (armed === null || armed.name !== name) return;
  armed.left -= 1;
  if (armed.left === 0) process.kill(process.pid, 'SIGKILL');
}
