import { ids } from "@busrig/event-contract";
import { clusterFunctions } from "./cluster";
import { hostFunctions } from "./host";

// Who owns which function, for shipit to check before anything runs.
console.log(JSON.stringify({ cluster: ids(clusterFunctions), host: ids(hostFunctions) }));
