/** Rows of images as the API shows them. Pure. */
import type { AliasRow, ImageRow } from '../db/rows.ts';
import { NEVER } from '../db/rows.ts';

/** What LXD sends for an image that was never used. */
const GO_ZERO_TIME = '0001-01-01T00:00:00Z';

export function renderImage(row: ImageRow, aliases: readonly AliasRow[]): Readonly<Record<string, unknown>> {
  return {
    auto_update: row.autoUpdate,
    properties: row.properties,
    public: row.public,
    expires_at: row.expiresAt,
    profiles: row.profiles ?? ['default'],
    aliases: aliases.map(({ name, description }) => ({ name, description })),
    architecture: row.architecture,
    cached: row.cached,
    filename: row.filename,
    fingerprint: row.fingerprint,
    size: row.size,
    type: 'container',
    created_at: row.createdAt,
    last_used_at: row.lastUsedAt === NEVER ? GO_ZERO_TIME : row.lastUsedAt,
    uploaded_at: row.uploadedAt,
  };
}

/** The part of an image that its ETag stands for. */
export function imageEtag(row: ImageRow): unknown {
  return [row.public, row.autoUpdate, row.properties];
}

export function renderAlias(row: AliasRow): Readonly<Record<string, unknown>> {
  return { description: row.description, target: row.target, name: row.name, type: 'container' };
}

/** `/1.0/images/…`, with the project when it is not `default`. */
export function imageUrl(project: string, fingerprint: string): string {
  return inProject(`/1.0/images/${fingerprint}`, project);
}

export function aliasUrl(project: string, name: string): string {
  return inProject(`/1.0/images/aliases/${name.split('/').map(encodeURIComponent).join('/')}`, project);
}

function inProject(url: string, project: string): string {
  return project === 'default' ? url : `${url}?project=${encodeURIComponent(project)}`;
}
