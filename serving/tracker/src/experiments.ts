// Which arm a user has, as the server decides it (models/assignment.py): a hash, and no request.

/** An experiment, as `GET /api/v1/experiments` tells it in `definitions`. */
export interface Definition {
  salt: string;
  layer: string;
  layer_from: number;
  layer_to: number;
  /** Of the users in its part of the layer. */
  share: number;
  /** The first one is the control. */
  arms: { name: string; weight: number }[];
}

/** The name of the user's arm, or null: not in the experiment. Needs https, or localhost. */
export async function assign(definition: Definition, userId: string): Promise<string | null> {
  const { salt, layer, layer_from, layer_to, share, arms } = definition;
  const place = await bucket(`layer:${layer}`, userId);
  if (place < layer_from || place >= layer_to) return null;
  if ((place - layer_from) / (layer_to - layer_from) >= share) return null;
  let end = 0;
  const ends = arms.map(({ weight }) => (end += weight));
  const point = (await bucket(salt, userId)) * end;
  return arms[ends.findIndex((upTo) => point < upTo)]?.name ?? null;
}

/** Where a user lies in [0, 1): the first 48 bits of SHA-256 of `salt:user`. */
async function bucket(salt: string, userId: string): Promise<number> {
  if (!globalThis.crypto?.subtle) throw new Error("feedwright: assign needs https, or localhost");
  const text = new TextEncoder().encode(`${salt}:${userId}`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  return digest.slice(0, 6).reduce((sum, byte) => sum * 256 + byte, 0) / 2 ** 48;
}
