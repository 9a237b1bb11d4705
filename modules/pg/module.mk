PKGS_pg = libpq
