/** An experiment, as `GET /api/v1/experiments` tells it in `definitions`. */
export interface Definition {
    salt: string;
    layer: string;
    layer_from: number;
    layer_to: number;
    /** Of the users in its part of the layer. */
    share: number;
    /** The first one is the control. */
    arms: {
        name: string;
        weight: number;
    }[];
}
/** The name of the user's arm, or null: not in the experiment. Needs https, or localhost. */
export declare function assign(definition: Definition, userId: string): Promise<string | null>;
