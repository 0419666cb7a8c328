/** Warnings an operator should see (`/1.0/warnings`). Implemented by `warnings-store.ts`. */
export interface Warnings {
  /** Adds a warning or counts an existing one of the same type and object. */
  raise(warning: {
    readonly type: string;
    readonly severity: 'low' | 'moderate' | 'high';
    readonly message: string;
    readonly project?: string;
    readonly entityUrl?: string;
  }): Promise<void>;
  /** Marks the warning of this type and object as resolved. */
  resolve(type: string, entityUrl?: string): Promise<void>;
}
