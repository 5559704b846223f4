// Makes the files that ship, in ../assets/tracker, and fails when the core grows too large.

import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const MOST = 4096; // bytes of the core, gzipped
const out = new URL("../assets/tracker/", import.meta.url).pathname;
const src = new URL("src/", import.meta.url).pathname;
const { version } = JSON.parse(readFileSync(new URL("package.json", import.meta.url)));

// Names the sources, so that a test can tell whether these files are made from them.
const hash = createHash("sha256");
for (const name of readdirSync(src).sort()) hash.update(readFileSync(src + name));
const banner = { js: `/* feedwright ${version}, sources ${hash.digest("hex").slice(0, 16)} */` };

// Names of fields and methods of the parts, which no other object has: they ship as single letters.
const mangleProps = new RegExp(
  `^(${[
    "page queue batch address failures notBefore refused sending running poke retryNow rest run cannot beacon timer most send wait",
    "kept text bytes light beaconed remove prefix owner holding adopt hold release attempt names store first own end",
    "tell watched known paused changes sight attention scan forget look clicked since dwelt pause resume about seen read watch start stop visible item ms",
  ].join(" ").replaceAll(" ", "|")})$`,
);
const common = { banner, mangleProps, bundle: true, minify: true, target: "es2020", absWorkingDir: src, legalComments: "none" };
await Promise.all([
  build({ ...common, entryPoints: ["feedwright.ts"], format: "esm", outfile: `${out}feedwright.js` }),
  build({ ...common, entryPoints: ["global.ts"], format: "iife", outfile: `${out}feedwright.global.js` }),
  build({ ...common, entryPoints: ["experiments.ts"], format: "esm", outfile: `${out}feedwright.experiments.js` }),
  build({
    ...common,
    entryPoints: ["feedwright.react.ts"],
    format: "esm",
    outfile: `${out}feedwright.react.js`,
    plugins: [{
      name: "apart",
      setup: ({ onResolve }) => {
        onResolve({ filter: /^\.\/feedwright$/ }, () => ({ path: "./feedwright.js", external: true }));
        onResolve({ filter: /^react$/ }, () => ({ path: "react", external: true }));
      },
    }],
  }),
]);

const types = mkdtempSync(`${tmpdir()}/feedwright-types-`);
const tsc = new URL("node_modules/.bin/tsc", import.meta.url).pathname;
const flags = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", types];
execFileSync(tsc, ["-p", new URL(".", import.meta.url).pathname, ...flags], { stdio: "inherit" });
for (const name of ["feedwright.d.ts", "feedwright.react.d.ts"]) cpSync(`${types}/${name}`, out + name);
cpSync(`${types}/experiments.d.ts`, `${out}feedwright.experiments.d.ts`);
rmSync(types, { recursive: true });
writeFileSync(`${out}feedwright.global.d.ts`, `declare const feedwright: typeof import("./feedwright").feedwright;\n`);
writeFileSync(`${out}package.json`, `${JSON.stringify({
  name: "feedwright",
  version,
  private: true,
  type: "module",
  sideEffects: ["./feedwright.global.js"],
  exports: {
    ".": "./feedwright.js",
    "./react": "./feedwright.react.js",
    "./global": "./feedwright.global.js",
    "./experiments": "./feedwright.experiments.js",
  },
}, null, 2)}\n`);

for (const entry of ["", ".global", ".react", ".experiments"]) {
  const name = `feedwright${entry}.js`;
  const text = readFileSync(out + name);
  const size = gzipSync(text, { level: 9 }).length;
  console.log(`${name}: ${text.length} bytes, ${size} gzipped`);
  if (size > MOST) {
    console.error(`${name} is larger than ${MOST} bytes gzipped`);
    process.exitCode = 1;
  }
}
