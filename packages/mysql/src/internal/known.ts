/**
 * How a refusal by type lets generic code through.
 *
 * A parameter of the type `[Refused] extends [T] ? "the reason" : X` takes an `X` where the compiler knows that the condition is
 * false. Of a type parameter `T` it knows nothing, so no generic helper would compile, however sound. But it leaves out a branch that
 * no type could reach, and to find out it puts a wildcard, which fits everything, in the place of `T`. The wildcard alone fits `never`,
 * so that `never` stands for it here, of which the condition is false. Where the helper is used, `T` is known and nobody asks again.
 *
 * @internal
 */
export type IfKnown<T> = [T] extends [never] ? never : T
