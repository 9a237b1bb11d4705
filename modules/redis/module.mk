PKGS_redis = hiredis libssl libcrypto
