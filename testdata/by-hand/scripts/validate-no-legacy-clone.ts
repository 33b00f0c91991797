import { $ } from "bun";

const LEGACY_CLONE_MARKER = "Code/old-busrig";
const ALLOWED_PREFIXES = ["docs/decisions/"] as const;
const ALLOWED_EXACT = new Set(["scripts/validate-no-legacy-clone.ts"]);

const found = (await $`git grep -l ${LEGACY_CLONE_MARKER}`.nothrow().text()).trim().split("\n").filter(Boolean);
const bad = found.filter((path) => !ALLOWED_EXACT.has(path) && !ALLOWED_PREFIXES.some((prefix) => path.startsWith(prefix)));
if (bad.length > 0) throw new Error(`these name the clone that is gone: ${bad}`);
