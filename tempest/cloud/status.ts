import type { Progress } from '../../api/setup/progress.ts';
import type { CloudPlaces } from './setting.ts';
export function showStatus(_places: CloudPlaces, _progress: Progress, _signal: AbortSignal): Promise<number> { return Promise.resolve(0); }
