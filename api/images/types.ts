/** What instances see of the image store. */
import type { ImageRow, StringMap } from '../db/rows.ts';
import type { StoredImage } from '../storage/types.ts';

export interface ImageQuery {
  readonly project: string;
  readonly alias?: string;
  /** A full fingerprint or a prefix of it. */
  readonly fingerprint?: string;
  /** Newest image that has all of these. */
  readonly properties?: StringMap;
}

export interface FoundImage extends StoredImage {
  readonly row: ImageRow;
}

/** metadata.yaml, as read from an image or an instance's volume. */
export interface ImageMetadata {
  readonly architecture: string;
  readonly creationDate: number;
  readonly expiryDate: number;
  readonly properties: StringMap;
  readonly templates: Readonly<Record<string, TemplateRule>>;
}

export interface TemplateRule {
  readonly when: readonly string[];
  readonly createOnly: boolean;
  readonly template: string;
  readonly properties: StringMap;
}

export interface Images {
  /** Fault not_found (LXD's texts), bad_request for an ambiguous prefix. */
  find(query: ImageQuery): Promise<FoundImage>;
  /** Notes the time of use. */
  touch(image: FoundImage): Promise<void>;
}
