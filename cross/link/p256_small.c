/* Lets ring's small P-256 serve where its Rust code asks for the large one.
 *
 * On aarch64 ring multiplies the base point with a table of 150 KB.
 * Compiled with OPENSSL_SMALL its C code takes the way of all other processors
 * instead, but its Rust code still asks for a second function with the same
 * meaning that may take a time which depends on the scalar; one that may not
 * serves as well. For ring 0.17; cross/build refuses others.
 */
#define NAME(function) ring_core_0_17_14__##function

void NAME(p256_point_mul_base)(unsigned long *point, const unsigned long *scalar);

void NAME(p256_point_mul_base_vartime)(unsigned long *point, const unsigned long *scalar)
{
	NAME(p256_point_mul_base)(point, scalar);
}
