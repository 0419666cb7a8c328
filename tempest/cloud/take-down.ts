import type { Progress } from '../../api/setup/progress.ts';
import type { CloudPlaces } from './setting.ts';
export function takeDown(_places: CloudPlaces, _w: {purge: boolean; cache: boolean}, _progress: Progress, _signal: AbortSignal): Promise<void> { return Promise.resolve(); }
