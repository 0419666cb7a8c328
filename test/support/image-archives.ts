/** Images for tests, small and of every form, made with the tools of this machine. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const METADATA = `architecture: x86_64
creation_date: 1700000000
properties:
  os: test
  release: 12
  description: an image of the tests
templates:
  /etc/hostname:
    when: [create, copy]
    template: hostname.tpl
`;

function put(path: string, content: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
}

/** A root file system with one of everything that must survive. */
export function makeRoot(root: string): void {
  put(join(root, 'etc/hostname'), 'image\n');
  put(join(root, 'usr/lib/os-release'), 'ID=testos\nVERSION_ID="1"\nPRETTY_NAME="Test OS 1"\n');
  symlinkSync('../usr/lib/os-release', join(root, 'etc/os-release'));
  put(join(root, 'bin/tool'), '#!/bin/sh\n', 0o755);
  linkSync(join(root, 'bin/tool'), join(root, 'bin/alias'));
  put(join(root, 'bin/su'), 'su', 0o4755);
  put(join(root, 'home/user/file'), 'mine');
  execFileSync('chown', ['-R', '1000:1000', join(root, 'home/user')]);
  mkdirSync(join(root, 'dev'));
  chmodSync(root, 0o755);
}

/** metadata.yaml and templates/ beside a root. */
export function makeDescription(directory: string): void {
  put(join(directory, 'metadata.yaml'), METADATA);
  put(join(directory, 'templates/hostname.tpl'), '{{ container.name }}\n');
}

/** A folder with rootfs/ and its description. */
export function makeUnified(directory: string): void {
  makeRoot(join(directory, 'rootfs'));
  makeDescription(directory);
}

/** tar with a compression option such as `--zstd`. */
export function tar(file: string, directory: string, options: readonly string[] = [], names = ['.']): string {
  execFileSync('tar', ['--numeric-owner', '--xattrs', ...options, '-cf', file, '-C', directory, ...names]);
  return file;
}

export function squashfs(file: string, directory: string): string {
  execFileSync('mksquashfs', [directory, file, '-quiet', '-no-progress', '-noappend']);
  return file;
}

export function sha256(...files: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest('hex');
}

/** A multipart body of named files. */
export function multipart(
  boundary: string,
  parts: readonly { readonly name: string; readonly filename: string; readonly content: Buffer }[],
): Buffer {
  const pieces = parts.flatMap(({ name, filename, content }) => [
    Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"; filename="${filename}"\r\n` +
        `Content-Type: application/octet-stream\r\n\r\n`,
    ),
    content,
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...pieces, Buffer.from(`--${boundary}--\r\n`)]);
}
