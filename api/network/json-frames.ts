/** Parts a stream of JSON objects that follow each other without anything between them. */
import { StringDecoder } from 'node:string_decoder';

export class JsonFrames {
  private readonly decoder = new StringDecoder('utf8');
  private text = '';
  /** How far `text` has been looked at. */
  private at = 0;
  private depth = 0;
  private inString = false;

  /** The texts of the objects that this piece completes. */
  push(piece: Buffer): string[] {
    this.text += this.decoder.write(piece);
    const whole: string[] = [];
    for (; this.at < this.text.length; this.at += 1) {
      if (!this.step(this.text.charCodeAt(this.at))) continue;
      whole.push(this.text.slice(0, this.at + 1));
      this.text = this.text.slice(this.at + 1);
      this.at = -1;
    }
    return whole;
  }

  /** Bytes of an object whose end has not come yet. */
  get pending(): number {
    return this.text.length;
  }

  /** True at the brace that ends an object. */
  private step(code: number): boolean {
    if (this.inString) {
      // The character after a backslash says nothing about the end of the string.
      if (code === 0x5c) this.at += 1;
      else if (code === 0x22) this.inString = false;
      return false;
    }
    if (code === 0x22) this.inString = true;
    else if (code === 0x7b || code === 0x5b) this.depth += 1;
    else if (code === 0x7d || code === 0x5d) {
      this.depth -= 1;
      return this.depth === 0;
    }
    return false;
  }
}
