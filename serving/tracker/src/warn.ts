/** Tells developers, in the browser's console. */
export function warn(text: string): void {
  console.warn(`feedwright: ${text}`);
}
