declare const feedwright: typeof import("./feedwright").feedwright;
