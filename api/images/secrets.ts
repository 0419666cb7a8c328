/**
 * Secrets that let somebody without trust read one private image.
 *
 * A secret is the metadata of a token operation, which ends when it is first
 * used. Same oddity as LXD: it is honoured for five more seconds, because
 * clients read the image and then its file with the same secret.
 */
import { randomBytes } from 'node:crypto';
import type { Requestor } from '../events/events.ts';
import type { Operation, Operations } from '../operations/types.ts';

const GRACE_MS = 5000;

interface Grant {
  readonly project: string;
  readonly fingerprint: string;
  usedAtMs: number | null;
}

export class ImageSecrets {
  private readonly operations: Operations;
  private readonly grants = new Map<string, Grant>();

  constructor(operations: Operations) {
    this.operations = operations;
  }

  issue(project: string, fingerprint: string, requestor: Requestor): Operation {
    const secret = randomBytes(32).toString('hex');
    const tail = project === 'default' ? '' : `?project=${encodeURIComponent(project)}`;
    const operation = this.operations.create({
      class: 'token',
      description: 'Image download token',
      project,
      requestor,
      resources: { images: [`/1.0/images/${fingerprint}${tail}`] },
      metadata: { secret },
      mayCancel: true,
    });
    this.grants.set(secret, { project, fingerprint, usedAtMs: null });
    void operation.finished.then(() => {
      setTimeout(() => this.grants.delete(secret), GRACE_MS).unref();
    });
    return operation;
  }

  /** True when the secret opens this image; its operation ends with the first use. */
  opens(secret: string | null, project: string, fingerprint: string): boolean {
    const grant = secret === null ? undefined : this.grants.get(secret);
    if (grant === undefined || grant.project !== project || grant.fingerprint !== fingerprint) return false;
    if (grant.usedAtMs !== null) return performance.now() - grant.usedAtMs < GRACE_MS;
    // An operation that somebody cancelled is no longer there to be used.
    if (this.operations.useToken((metadata) => metadata['secret'] === secret) === undefined) return false;
    grant.usedAtMs = performance.now();
    return true;
  }
}
