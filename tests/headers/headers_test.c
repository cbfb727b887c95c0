/* The compiler has done the checking: see headers.bzl. */
int main(void) {
    return 0;
}
