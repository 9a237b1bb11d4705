PKGS_mysql = libmariadb
