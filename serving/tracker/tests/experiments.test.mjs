// Arms as the server gives them: tests/models/test_assignment.py reads the same file.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assign } from "../../assets/tracker/feedwright.experiments.js";

const { definitions, arms } = JSON.parse(readFileSync(new URL("assignment.json", import.meta.url)));

for (const [id, expected] of Object.entries(arms))
  test(`users of ${id} have the arms that the server gives them`, async () => {
    for (const [user, arm] of Object.entries(expected))
      assert.equal(await assign(definitions[id], user), arm, user);
  });

test("without https the message says so", async () => {
  const { crypto } = globalThis;
  Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true });
  await assert.rejects(assign(definitions.whole, "1"), /https/);
  Object.defineProperty(globalThis, "crypto", { value: crypto, configurable: true });
});
