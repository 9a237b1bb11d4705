PKGS_fs = nettle
