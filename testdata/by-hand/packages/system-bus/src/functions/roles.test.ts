import { ids } from "@busrig/event-contract";
import { clusterFunctions } from "./cluster";
import { hostFunctions } from "./host";

// Both roles answer for these, so that an event reaches whichever is up.
const INTENTIONAL_DUAL_ROLE_IDS = new Set<string>(["generic-dispatch"]);

const cluster = ids(clusterFunctions);
const shared = ids(hostFunctions).filter((id) => cluster.includes(id) && !INTENTIONAL_DUAL_ROLE_IDS.has(id));
if (shared.length > 0) throw new Error(`in both roles: ${shared}`);
