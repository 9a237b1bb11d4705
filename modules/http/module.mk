PKGS_http = libcurl libssl libcrypto nettle
