import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findProgram } from '../../../config/packages.ts';
import { PROGRAM_ROOT } from '../../../config/root.ts';

const FOLDER = join(PROGRAM_ROOT, 'config/etc/systemd');
const UNITS = readdirSync(FOLDER);

/** What would reach every container through the daemon, and break systemd or setuid programs inside. */
const INHERITED =
  /^(ProtectSystem|ProtectHome|PrivateTmp|PrivateDevices|PrivateMounts|NoNewPrivileges|SystemCallFilter|Restrict\w+|MemoryDenyWriteExecute|LockPersonality|ReadOnlyPaths)=/m;

test('the daemon is stopped without its containers and limits nothing that they would inherit', () => {
  const text = readFileSync(join(FOLDER, 'slipway.service'), 'utf8');
  assert.match(text, /^KillMode=process$/m);
  assert.match(text, /^Type=notify$/m);
  assert.doesNotMatch(text, INHERITED);
});

test('the socket unit hands over the descriptor by the name the daemon looks for', () => {
  const text = readFileSync(join(FOLDER, 'slipway.socket'), 'utf8');
  assert.match(text, /^FileDescriptorName=unix$/m);
  assert.match(text, /^ListenStream=\/var\/lib\/slipway\/unix\.socket$/m);
});

test('a restart of the daemon does not reach the unit that stops the containers', () => {
  const text = readFileSync(join(FOLDER, 'slipway-containers.service'), 'utf8');
  assert.match(text, /^After=.*slipway\.service/m);
  assert.match(text, /^ExecStop=.*down --containers$/m);
  assert.doesNotMatch(text, /^(Requires|Requisite|BindsTo|PartOf|PropagatesStopTo)=/m);
});

if (findProgram('systemd-analyze') !== null) {
  test('systemd finds no fault with the units', () => {
    const folder = mkdtempSync(join(tmpdir(), 'units-'));
    try {
      cpSync(FOLDER, folder, { recursive: true });
      for (const unit of UNITS) {
        // The command itself is not installed where the tests run.
        const text = readFileSync(join(FOLDER, unit), 'utf8').replaceAll('/usr/bin/slipway ', '/bin/true ');
        writeFileSync(join(folder, unit), text);
      }
      const said = execFileSync(
        'systemd-analyze',
        ['verify', '--man=no', ...UNITS.map((unit) => join(folder, unit))],
        {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
          env: { ...process.env, SYSTEMD_UNIT_PATH: `${folder}:` },
        },
      );
      assert.equal(said.trim(), '');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
