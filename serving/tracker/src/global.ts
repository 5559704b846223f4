// For a script tag: `feedwright` becomes a name of the page.

import { feedwright } from "./feedwright";

Object.assign(globalThis, { feedwright });
